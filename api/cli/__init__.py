"""The command line: ``shiplock``. Exit status 0 done, 1 failed, 2 usage."""

import sys

import msgspec
import psycopg
import typer
from psycopg_pool import PoolTimeout

from api.cli import (
    access,
    auditing,
    demo,
    doctor,
    doubtful,
    importing,
    jobs,
    lists,
    money,
    projections,
    reading,
    rules,
    serving,
    stock,
    stockout_applications,
    suppliers,
    way_out,
)
from api.cli.terminal import CommandFailed, complain
from api.program import OwnerKeyNotWritten
from api.wording import in_plain_words
from domain.rules.reading import InvalidRuleSet
from infrastructure.commands.intents import Unavailable
from infrastructure.database.embedded import EmbeddedServerFailed
from infrastructure.database.migrate import WrongDatabase
from infrastructure.jobs.job import NotPossible
from infrastructure.projections.builds import CannotDo
from infrastructure.runtime import garbage_collection
from infrastructure.runtime.settings import BadSetting, UnknownSetting

app = typer.Typer(
    name="shiplock",
    help="The system of record for a Pinduoduo shop's fulfilment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(serving.serve)
app.command()(serving.worker)
app.command("import")(importing.import_file)
app.command("request-stockouts")(stockout_applications.request_stockouts_of)
app.command()(reading.order)
app.command()(reading.history)
app.command()(reading.diff)
app.command()(lists.orders)
app.command()(lists.deadlines)
app.command()(lists.violations)
app.command()(reading.report)
app.command()(doubtful.doubtful)
app.command()(suppliers.suppliers)
app.command()(suppliers.handovers)
app.command()(stock.skus)
app.command()(stock.sku)
app.command("at-risk")(stock.at_risk)
app.command()(stock.cases)
app.command()(stock.case)
app.command("import-bill")(money.import_bill_file)
app.command()(money.reconcile)
app.command()(money.unmatched_charges)
app.command()(money.penalties)
app.command("way-out")(way_out.way_out)
app.command()(doctor.doctor)
app.command()(demo.demo)
app.add_typer(projections.app, name="projections")
app.add_typer(rules.app, name="rules")
app.add_typer(jobs.app, name="jobs")
app.add_typer(access.app, name="access")
app.add_typer(auditing.app, name="audit")
app.add_typer(serving.db, name="db")


def main() -> None:
    """Run the command line and turn what can go wrong outside into one clear sentence and status 1."""
    garbage_collection.tune()
    try:
        app()
    except (
        CommandFailed,
        EmbeddedServerFailed,
        OwnerKeyNotWritten,
        WrongDatabase,
        UnknownSetting,
        BadSetting,
        CannotDo,
        NotPossible,
        InvalidRuleSet,
    ) as error:
        complain(str(error))
    except (psycopg.OperationalError, PoolTimeout, Unavailable) as error:
        complain(f"The database can't be reached: {error}")
    except msgspec.ValidationError as error:
        complain(": ".join(filter(None, in_plain_words(error))))
    except BrokenPipeError:
        sys.stderr.close()
    else:
        return
    sys.exit(1)
