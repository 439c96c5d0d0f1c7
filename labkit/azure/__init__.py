"""AKS arms: request bodies, set-up, credentials, parity, clean-up. The Azure SDK is imported where it is used."""
