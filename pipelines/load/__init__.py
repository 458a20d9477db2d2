"""Load on the daemon: thousands of simulated streams, a broker at its limit, a simulated week."""
