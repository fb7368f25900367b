"""What the evidence should show: claims, each with its rule, decided by records alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from weightspace.experiments.bench.evidence import Evidence, Outcome, moved_names
from weightspace.experiments.bench.number import interval, signed

__all__ = [
    "CLAIMS",
    "MODELS",
    "Claim",
    "Costs",
    "EveryPart",
    "Falls",
    "FewerLabels",
    "FewerParameters",
    "Finding",
    "SmallestLevel",
    "Steady",
    "Unrecorded",
    "Verdict",
    "Versus",
    "VersusBest",
    "findings",
]

GENERALISATION = ("generalisation-relu", "generalisation-tanh", "generalisation-syndigits")
INR = ("inr-mnist", "inr-fashion", "inr-cifar")
EDITING = ("edit-mnist", "edit-cifar")

MONOMIAL = ("MonomialNFN", "MAGEPNFN")
SYMMETRIC = (*MONOMIAL, "ScaleGMN", "ScaleGMN-B")
"""Models that respect the whole group."""
OURS = (*SYMMETRIC, "Phased")
BASELINES = (
    "FlatMLP",
    "StatNN",
    "DeepSets",
    "NP",
    "HNP",
    "GMN",
    "NGGNN",
    "GaugeGMN",
    "FunctionProbe",
    "NeuronTransformer",
)
MODELS = (*BASELINES, *OURS)
"""Names of rows that stand for one model each, in every table where they appear."""

NOTICEABLE = 0.002
"""A change of a rank correlation by less than this is called none."""


class Verdict(Enum):
    """What records say to a claim."""

    YES = "yes"
    NO = "no"
    NOISE = "within noise"
    """Level: the interval of the difference holds 0."""
    MISSING = "not measured"
    SHOWN = "shown"
    """Numbers without a limit that they should keep."""


@dataclass(frozen=True)
class Finding:
    """What one table says to a claim.

    Args:
        table: the table's name; empty where no table could say anything.
        scale: small or full; empty where the table says nothing at either.
        verdict: what follows.
        numbers: what it follows from.
    """

    table: str
    scale: str
    verdict: Verdict
    numbers: str


@runtime_checkable
class Claim(Protocol):
    """A sentence with a rule that decides on it, table by table."""

    @property
    def text(self) -> str:
        """The sentence."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that can decide on it; empty for all of them."""

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """What a table says, with the numbers; nothing where it lacks the rows."""


@dataclass(frozen=True)
class Versus:
    """Each of some rows against each of others of its track: yes above, no below, beyond noise.

    Args:
        text: the sentence.
        tables: where.
        first: names of rows.
        second: names of those that they are compared with.
    """

    text: str
    tables: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """Yes and no where the interval of the difference excludes 0."""
        for first in _rows(evidence, self.first):
            for second in _rows(evidence, self.second):
                if first.row.track == second.row.track:
                    yield _above(evidence, first, second), _compared(evidence, first, second)


@dataclass(frozen=True)
class VersusBest:
    """The best of some rows against the best of all others of its track: yes above, no below, beyond noise.

    Args:
        text: the sentence.
        tables: where.
        first: names of rows, variants ("name, ...") included.
        tracks: where they are compared; empty means each track by itself.
    """

    text: str
    tables: tuple[str, ...]
    first: tuple[str, ...]
    tracks: tuple[str, ...] = ()

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """By the best median of each side, track by track."""
        for track in self.tracks or evidence.tracks:
            ranked = evidence.ranked(evidence.part(track=track))
            mine = [outcome for outcome in ranked if _stem(outcome) in self.first]
            others = [outcome for outcome in ranked if _stem(outcome) not in self.first]
            if mine and others:
                yield _above(evidence, mine[0], others[0]), _compared(evidence, mine[0], others[0])


@dataclass(frozen=True)
class FewerParameters:
    """A row with at most a share of another's parameters against that other: yes above, no below, beyond noise.

    Args:
        text: the sentence.
        tables: where.
        first: the smaller model: the row of this name or one of its variants ("name, ...").
        second: the larger one.
        share: of the parameters.
    """

    text: str
    tables: tuple[str, ...]
    first: str
    second: str
    share: float

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """By the largest variant that is small enough; not measured where none is."""
        second = evidence.outcomes.get(self.second)
        if second is None or not second.finished or not second.parameters:
            return
        same = evidence.part(track=second.row.track)
        variants = [outcome for outcome in same if _stem(outcome) == self.first and outcome.finished]
        small = [o for o in variants if (o.parameters or 0) <= self.share * second.parameters]
        for outcome in variants if not small else [max(small, key=lambda o: o.parameters or 0)]:
            told = f"{outcome.parameters:,} to {second.parameters:,} parameters; {_compared(evidence, outcome, second)}"
            yield _above(evidence, outcome, second) if small else Verdict.MISSING, told


@dataclass(frozen=True)
class SmallestLevel:
    """Some variant of one model is level with the best variant of another, or above, with fewer parameters.

    Args:
        text: the sentence.
        tables: where.
        first: the first model: rows of this name or of its variants ("name, ...").
        second: the other.
    """

    text: str
    tables: tuple[str, ...]
    first: str
    second: str

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """By the smallest variant that is not below beyond noise; no where there is none, or where it is no smaller."""
        ranked = evidence.ranked(evidence.outcomes.values())
        first = [outcome for outcome in ranked if _stem(outcome) == self.first]
        second = [outcome for outcome in ranked if _stem(outcome) == self.second]
        if not first or not second:
            return
        level = [outcome for outcome in first if (evidence.sign(outcome, second[0]) or 0) >= 0]
        chosen = min(level, key=lambda o: o.parameters or 0) if level else first[0]
        mine, its = chosen.parameters or 0, second[0].parameters or 0
        verdict = Verdict.YES if level and mine < its else Verdict.NO
        if evidence.sign(chosen, second[0]) is None:
            verdict = Verdict.MISSING
        ratio = f", a share of {mine / its:.3g}" if its else ""
        yield verdict, f"{mine:,} to {its:,} parameters{ratio}; {_compared(evidence, chosen, second[0])}"


@dataclass(frozen=True)
class Steady:
    """The score of each of some rows stays as it is when the test networks are moved along their symmetries."""

    text: str
    tables: tuple[str, ...]
    rows: tuple[str, ...]
    limit: float = NOTICEABLE

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """No where one run changes by the limit or more under one move."""
        for outcome in _rows(evidence, self.rows):
            worst = outcome.worst(evidence.measure)
            if worst is not None:
                move, change = worst
                told = f"{outcome.name}: at most {signed(evidence.measure, change)} ({move})"
                yield Verdict.YES if abs(change) < self.limit else Verdict.NO, told


@dataclass(frozen=True)
class Falls:
    """The score of each of some rows gets worse when the test networks are moved along their symmetries."""

    text: str
    tables: tuple[str, ...]
    rows: tuple[str, ...]
    limit: float = NOTICEABLE

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """Yes where every run loses at least the limit under the move that hurts most."""
        for outcome in _rows(evidence, self.rows):
            found = {move: outcome.change(evidence.measure, move) for move in moved_names([outcome])}
            turn = 1 if evidence.table.higher else -1
            lost = {m: (turn * s.low, turn * s.middle, turn * s.high) for m, s in found.items() if s is not None}
            if lost:
                move = min(lost, key=lambda name: lost[name][1])
                told = f"{outcome.name}: {signed(evidence.measure, turn * lost[move][1])} ({move})"
                yield Verdict.YES if max(lost[move]) <= -self.limit else Verdict.NO, told


@dataclass(frozen=True)
class FewerLabels:
    """With few networks to learn from, each of some models is above each of others beyond noise."""

    text: str
    tables: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """At the smallest number of networks that both learnt from."""
        curves = {name: dict(points) for name, points in evidence.curves().items()}
        for one in (name for name in self.first if name in curves):
            for other in (name for name in self.second if name in curves):
                common = sorted(curves[one].keys() & curves[other].keys())
                if len(common) > 1:  # all the networks are not few
                    first, second = curves[one][common[0]], curves[other][common[0]]
                    told = f"{common[0]:,} networks: {_compared(evidence, first, second)}"
                    yield _above(evidence, first, second), told


@dataclass(frozen=True)
class EveryPart:
    """The whole model is above each of its ablations beyond noise."""

    text: str
    tables: tuple[str, ...] = ()

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """One answer for each row of the study "ablation"."""
        for outcome in evidence.part(study="ablation"):
            whole = evidence.of(outcome)
            if whole is not None and whole.finished and outcome.finished:
                yield _above(evidence, whole, outcome), _compared(evidence, whole, outcome)


@dataclass(frozen=True)
class Costs:
    """What a step of training and an answer cost, without a limit; measured by themselves."""

    text: str
    tables: tuple[str, ...]
    rows: tuple[str, ...] = MODELS

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """Milliseconds and memory."""
        for name in self.rows:
            if name in evidence.costs:
                cost = evidence.costs[name]
                step = f"a step {1000 * cost.step:.1f} ms and {cost.step_memory / 2**20:,.0f} MiB"
                answer = f"an answer {1000 * cost.answer:.1f} ms and {cost.answer_memory / 2**20:,.0f} MiB"
                yield Verdict.SHOWN, f"{name}: {step}, {answer}"


@dataclass(frozen=True)
class Unrecorded:
    """Something that records of tables do not hold, and that no page here can show."""

    text: str
    tables: tuple[str, ...] = ()

    def judge(self, evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
        """Nothing."""
        return iter(())


def findings(claim: Claim, tables: Mapping[str, Sequence[Evidence]]) -> list[Finding]:
    """What all tables say to a claim; "not measured" for those that have nothing to say.

    Args:
        claim: the claim.
        tables: what is known, by the name of the table, at each scale with records.

    Example:
        >>> {finding.verdict.value for finding in findings(CLAIMS[0], {})}
        {'not measured'}
    """
    found: list[Finding] = []
    for name in claim.tables or tuple(tables):
        said = [
            Finding(name, evidence.scale, verdict, numbers)
            for evidence in tables.get(name, ())
            for verdict, numbers in claim.judge(evidence)
        ]
        # A claim about all tables is silent where a table has nothing of its kind, such as ablations.
        found += said or ([Finding(name, "", Verdict.MISSING, "")] if claim.tables else [])
    return found or [Finding("", "", Verdict.MISSING, "")]


def _stem(outcome: Outcome) -> str:
    return outcome.name.split(",")[0].strip()


def _rows(evidence: Evidence, names: Sequence[str]) -> Iterator[Outcome]:
    """The rows of these names that have run."""
    for name in names:
        outcome = evidence.outcomes.get(name)
        if outcome is not None and outcome.finished:
            yield outcome


def _above(evidence: Evidence, first: Outcome, second: Outcome) -> Verdict:
    sign = evidence.sign(first, second)
    return Verdict.MISSING if sign is None else (Verdict.NOISE, Verdict.YES, Verdict.NO)[sign]


def _compared(evidence: Evidence, first: Outcome, second: Outcome) -> str:
    told = interval(evidence.measure, evidence.difference(first, second))
    return f"{first.name} less {second.name}: {told}"


CLAIMS: tuple[Claim, ...] = (
    Steady(
        f"Rank correlations of models that respect the whole group change by less than {NOTICEABLE} under any move",
        GENERALISATION,
        (*SYMMETRIC, "GaugeGMN"),
    ),
    Falls(
        "Rank correlations of models that respect permutations alone, or nothing, fall under such moves",
        GENERALISATION,
        ("NP", "HNP", "StatNN"),
    ),
    Versus("MAGEP is above Monomial", (*GENERALISATION, *INR, *EDITING), ("MAGEPNFN",), ("MonomialNFN",)),
    FewerParameters(
        "Monomial with a tenth of HNP's parameters is level with it or above",
        (*GENERALISATION, *INR),
        "MonomialNFN",
        "HNP",
        0.1,
    ),
    VersusBest(
        "Phases folded, ScaleGMN-B is at least level with the best other model", INR, ("ScaleGMN-B",), ("canonical",)
    ),
    VersusBest(
        "Phases as they are, Phased is at least level with the best other model", INR, ("Phased",), ("weights",)
    ),
    Versus(
        "The corrected bidirectional model is above the same model as it was published",
        ("generalisation-relu",),
        ("ScaleGMN-B",),
        ("ScaleGMN-B, uncorrected",),
    ),
    Falls(
        "As it was published, the bidirectional model falls when units are rescaled",
        ("generalisation-relu",),
        ("ScaleGMN-B, uncorrected",),
    ),
    Versus(
        "ScaleGMN is at least level with the gauge baseline",
        (*GENERALISATION, *INR, *EDITING),
        ("ScaleGMN", "ScaleGMN-B"),
        ("GaugeGMN",),
    ),
    VersusBest(
        "The best symmetric model is above every baseline, the gauge baseline included",
        (*GENERALISATION, *INR, "inr-mnist-shared", "inr-mnist-views", *EDITING, "policy-cartpole"),
        OURS,
    ),
    SmallestLevel(
        "GM-CNN needs fewer parameters than a plain CNN for its accuracy", ("rotated-digits",), "GM-CNN", "CNN"
    ),
    SmallestLevel(
        "GM-CNN needs fewer parameters than layers of low displacement rank for their accuracy",
        ("rotated-digits",),
        "GM-CNN",
        "LDR-TD",
    ),
    FewerLabels(
        "With the fewest networks to learn from, symmetric models are above plain ones",
        (),
        SYMMETRIC,
        ("FlatMLP", "StatNN", "DeepSets"),
    ),
    EveryPart("Each part of a model makes it better: the whole is above each ablation"),
    Costs("Time and memory of a step of training and of an answer", (*GENERALISATION, *INR)),
    Unrecorded("Likeness of what two models have learnt (CKA)"),
)
"""What the pages are asked for, in the order in which they are shown."""
