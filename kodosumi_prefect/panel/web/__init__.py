"""The panel as a web application: what every request passes through."""
