"""A step of the pipeline: register the migrations of this release, and apply them.

It fails if a migration fails, and a repeated call applies only what is missing.
"""

import os
from pathlib import Path

from pgdbm_service.client import Client, MigrateBody, Run, archive_of

MIGRATIONS = Path(__file__).with_name("migrations")


def main() -> None:
    with Client(os.environ["PGDBM_SERVER"], os.environ.get("PGDBM_TOKEN")) as client:
        registered = client.register_module("orders", archive_of(MIGRATIONS))
        started = client.migrate("orders", MigrateBody(bundle=registered.digest, wait_s=0))
        if isinstance(started, Run):
            for event in client.follow(started.id):
                print(event.kind, event.filename or "")
        applied = [one.filename for one in client.wait_for(started).applied]
        print(f"applied: {', '.join(applied) or 'nothing'}")


if __name__ == "__main__":
    main()
