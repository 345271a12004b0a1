"""A class from product text: Debian's section of a package, from its name and description."""
