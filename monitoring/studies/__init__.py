"""Studies of the drift rules: false alarms, power, memory; and mail to look at the pages with."""
