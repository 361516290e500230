"""What happens to runs: made, staged, claimed, started, watched, judged, restarted."""
