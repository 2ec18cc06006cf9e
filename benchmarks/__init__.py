"""What Landloom costs, measured: ratios are taken within one run, since machines are noisy."""
