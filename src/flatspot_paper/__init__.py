"""The paper, repeated: theory, controlled experiments and PPO; its verbs join `flatspot` through the entry-point group `flatspot.verbs`.

flatspot never imports this package.
"""
