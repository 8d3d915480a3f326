"""JupyterHub for a course, on one machine; docs/hub.md explains it."""

c = get_config()  # noqa: F821  # JupyterHub brings it

c.JupyterHub.bind_url = "http://127.0.0.1:8000"  # put a web server with https in front
c.JupyterHub.authenticator_class = "pam"  # accounts of this machine; or one of oauthenticator
c.Authenticator.allow_all = True  # whoever has an account

# The student's own process copies the notebooks, then becomes the server. What is there is kept,
# and where nothing can be copied (a full disk), the server starts all the same.
c.Spawner.cmd = [
    "sh",
    "-c",
    'attnlab start "$HOME/attnlab" >/dev/null; exec jupyterhub-singleuser "$@"',
    "attnlab",
]
c.Spawner.default_url = "/lab/tree/attnlab/00_start_here.ipynb"
c.Spawner.environment = {
    "PATH": "/opt/attnlab/bin:/usr/local/bin:/usr/bin:/bin",
    "ATTNLAB_CACHE": "/srv/attnlab/cache",  # everybody reads it, nobody writes
    "OMP_NUM_THREADS": "1",  # many students, few cores: threads would wait for each other
}
c.Spawner.args = [
    "--MappingKernelManager.cull_idle_timeout=3600",  # a forgotten kernel gives its memory back
    "--MappingKernelManager.cull_interval=300",
    # a terminal that is no login shell: that would begin with a PATH of the machine's own
    "--ServerApp.terminado_settings={'shell_command': ['/bin/bash']}",
]
c.Spawner.start_timeout = 120  # seconds: those who start together wait for each other
# attnlab doctor tells it; a spawner such as systemdspawner holds it
c.Spawner.mem_limit = "2G"
