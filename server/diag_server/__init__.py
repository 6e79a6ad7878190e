"""The viewer: ingest, index, pages and JSON API over a store of captures. `app.create_app` makes it."""
