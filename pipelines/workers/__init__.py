"""Several daemons over one broker and one archive, killed at random: the union holds each sample once."""
