"""The paper, repeated: one module per part, each callable from `flatspot reproduce`."""
