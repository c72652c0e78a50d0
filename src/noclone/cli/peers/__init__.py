"""Other people's programs on the jobs of our stages, for `noclone bench --compare`.

Each module here is a script of its own: it imports the peer and nothing of ours, so that any interpreter that has the
peer can run it. In: the job as JSON, its only argument. Out: one JSON document, when the peer is shown to have done
the work. `noclone.cli.compare` starts them.
"""
