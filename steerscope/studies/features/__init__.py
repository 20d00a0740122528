"""What the features of a sparse autoencoder share, and how steering by them compares."""
