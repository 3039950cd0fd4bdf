"""The migration service: an HTTP API over the library's managers. ``pgdbm_service.asgi:create_app`` builds it."""
