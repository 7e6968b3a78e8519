"""HTTP: the API, the page's routes and the probes, all over the one port `control_plane.ControlPlane`."""
