"""What holds for every test."""

import os

# before anything loads torch: OpenMP threads of two test processes fight over the cores
os.environ["OMP_NUM_THREADS"] = "1"
