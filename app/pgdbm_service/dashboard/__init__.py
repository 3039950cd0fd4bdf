"""The pages under /ui, rendered on the server from the results of the API's readers, and the overview."""
