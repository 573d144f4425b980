//! What every Headwater binary shares: configuration, telemetry, signals.
