"""The paper's theory, repeated: bounds on enumerable models, the time SFT and RL need."""
