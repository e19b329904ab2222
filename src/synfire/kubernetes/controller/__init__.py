"""The controller of custom resources: `decide` says what is to be done, everything else looks or does it."""
