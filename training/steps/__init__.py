"""A module for each step of the command line; each reads the files of the step before."""
