"""What runs, services, owners and all together may spend on models, for operators."""
