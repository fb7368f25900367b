"""``weightspace demo edit``: change the weights of networks so that the images which they hold are changed."""

from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.disk import write_atomic
from weightspace.experiments.editing import EditingRecord, EditingSettings, run_editing
from weightspace.reports.editing import draw_editing
from weightspace.reports.table import aligned

__all__ = ["edit"]


def edit(*, settings: Annotated[EditingSettings, Parameter(name="*")] = EditingSettings()) -> None:  # noqa: B008 - frozen
    """Fit networks to images, train a model that edits them in weight space, and edit a photo of your own with it.

    Interrupted, it goes on when it is called again; what is finished is not done again, so another photo takes seconds.

    Args:
        settings: of the demo.
    """
    with bars() as report:
        record, folder = run_editing(settings, report)
    path = folder / "editing.png"
    write_atomic(path, _picture(record))
    networks, zoo = sum(record.zoo["networks"].values()), record.zoo
    print(f"Images: {record.note}")
    print(f"Zoo: {networks:,} networks of {zoo['parameters']:,} parameters, {zoo['psnr']:.1f} dB on average")
    print(f"{record.run['model']}: {record.run['parameters']:,} parameters, {record.run['steps']:,} steps\n")
    print(f"{_table(record)}\n\nThe picture is {path}")


def _picture(record: EditingRecord) -> bytes:
    titles = ("as fitted", "edited", f"aim: {record.change}")
    photo = record.picture
    return draw_editing(
        (record.shown.before, record.shown.after, record.shown.target),
        titles,
        None if photo is None else (photo.before, photo.after, photo.target),
    )


def _table(record: EditingRecord) -> str:
    """Errors to the changed images, of networks as they are and edited."""
    rows = [("mean squared error to the aim", "networks", "as fitted", "edited")]
    parts = {f"unseen {record.zoo['images']}": record.test, "the photo": record.photo}
    for name, part in parts.items():
        if part is not None:
            rows.append((name, f"{part['networks']:,}", f"{part['unedited mse']:.5f}", f"{part['mse']:.5f}"))
    return aligned(rows)
