"""Where files of a COPY, ADD or WORKDIR end up: requests and trees in, layer entries out."""
