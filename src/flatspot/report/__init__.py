"""What is shown: one set of words (`blocks`), laid out for a terminal, for a browser and as JSON. Nothing here computes a statistic."""
