"""Questions of runs to people: asked, waited for, answered."""
