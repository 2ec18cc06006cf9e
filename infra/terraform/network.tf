# No machine has a public address. Google's own services are reached privately, scenes elsewhere through NAT.
resource "google_compute_network" "landloom" {
  name                    = "landloom"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "landloom" {
  name                     = "landloom"
  region                   = var.region
  network                  = google_compute_network.landloom.id
  ip_cidr_range            = "10.0.0.0/20"
  private_ip_google_access = true
  # Google's addresses of version 6 are not used.
  stack_type = "IPV4_ONLY"

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = "10.16.0.0/14"
  }

  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = "10.20.0.0/20"
  }

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Dataflow's workers among themselves.
resource "google_compute_firewall" "workers" {
  name        = "landloom-workers"
  network     = google_compute_network.landloom.id
  source_tags = ["dataflow"]
  target_tags = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

resource "google_compute_router" "landloom" {
  name    = "landloom"
  region  = var.region
  network = google_compute_network.landloom.id
}

resource "google_compute_router_nat" "landloom" {
  name                               = "landloom"
  region                             = var.region
  router                             = google_compute_router.landloom.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
  # A worker holds a connection or two to each server that scenes come from.
  enable_endpoint_independent_mapping = false
  enable_dynamic_port_allocation      = true
  min_ports_per_vm                    = 64
  max_ports_per_vm                    = 1024

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
