"""Images of synfire, from Debian's and PyPI's packages alone: no base image is pulled."""
