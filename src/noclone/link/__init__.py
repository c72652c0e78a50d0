"""The light: devices -> `Detections`.

Sources, fibres, detectors, and the place where Eve may sit. Pure: arrays in, records out."""
