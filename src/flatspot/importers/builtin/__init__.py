"""The formats of logs that flatspot itself reads, a module for each family of them; `importers.detection` has them in their order."""
