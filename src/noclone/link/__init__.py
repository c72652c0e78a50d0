"""The light: from devices to `Detections`, paying for detections and not for pulses."""
