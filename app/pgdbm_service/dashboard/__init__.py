"""The pages under /ui, rendered on the server from the same data as the API, and the overview."""
