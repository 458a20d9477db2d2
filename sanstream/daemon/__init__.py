"""The daemon: live feeds in, an archive out, nothing lost on the way."""
