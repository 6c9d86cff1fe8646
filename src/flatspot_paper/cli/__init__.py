"""The verbs of the paper: `flatspot reproduce …`."""
