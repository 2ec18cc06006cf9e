"""Change products as a service, OGC API - Processes: jobs that outlive the server, each in a process of its own."""
