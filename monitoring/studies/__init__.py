"""Studies of the drift rules: false alarms, power, memory. `demo` makes example pages."""
