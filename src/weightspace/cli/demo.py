"""``weightspace demo``: the whole way, from real images to trained models and a page."""

from typing import Annotated

from cyclopts import App, Parameter

from weightspace.cli.bar import bars
from weightspace.experiments import DemoSettings, run_demo
from weightspace.reports import table, write_report
from weightspace.reports.demo import demo_report, demo_rows

__all__ = ["demo", "study"]

demo = App(name="demo")
demo.command("weightspace.cli.edit:edit", name="edit", help="Edit networks, and a photo of your own, in weight space.")


@demo.default
def study(*, settings: Annotated[DemoSettings, Parameter(name="*")] = DemoSettings()) -> None:  # noqa: B008 - frozen
    """Fit networks to real images, train models that read their weights, and test what each makes of equivalent ones.

    Interrupted, it goes on when it is called again; finished, it answers from its record.

    Args:
        settings: of the demo.
    """
    with bars() as report:
        record = run_demo(settings, report)
    page = write_report(demo_report(record), settings.home(record.zoo["images"]) / "report.html")
    networks = sum(record.zoo["splits"].values())
    print(f"Images: {record.note}")
    print(
        f"Zoo: {networks:,} networks of {record.zoo['parameters']:,} parameters, {record.zoo['psnr']:.1f} dB on average"
    )
    print(f"\n{table(demo_rows(record))}\n")
    print(f"The page with the pictures is {page}")
