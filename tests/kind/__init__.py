"""The local cluster's tool, with stand-ins for the programs that it runs."""
