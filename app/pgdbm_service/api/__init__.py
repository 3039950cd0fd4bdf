"""The wire types: what requests and answers look like in JSON. The client needs nothing else."""
