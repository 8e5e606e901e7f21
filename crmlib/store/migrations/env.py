"""Runs the migrations on the connection that ``crmlib.store.session`` hands over."""

from alembic import context

from crmlib.store.tables import Base

# Batches rebuild a table where SQLite cannot alter it.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
