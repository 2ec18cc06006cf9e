# Triton on GPUs, Flink and the servers: k8s/overlays/production runs on it.
resource "google_service_account" "nodes" {
  account_id   = "landloom-nodes"
  display_name = "Nodes of Landloom's cluster"
}

resource "google_project_iam_member" "nodes" {
  project = var.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = google_service_account.nodes.member
}

resource "google_container_cluster" "landloom" {
  #checkov:skip=CKV_GCP_65:Google groups are an organisation's own choice
  #checkov:skip=CKV_GCP_66:binary authorization needs a signer, which is an organisation's own choice
  name       = "landloom"
  location   = var.region
  network    = google_compute_network.landloom.id
  subnetwork = google_compute_subnetwork.landloom.id
  # Pools of their own, below.
  remove_default_node_pool    = true
  initial_node_count          = 1
  enable_shielded_nodes       = true
  enable_intranode_visibility = true
  datapath_provider           = "ADVANCED_DATAPATH"
  resource_labels             = { part-of = "landloom" }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
    master_ipv4_cidr_block  = "172.16.0.0/28"
  }

  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.operators
      content {
        cidr_block = cidr_blocks.value
      }
    }
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }

  # Enforces the policies of k8s/namespace; ADVANCED_DATAPATH does it.
  network_policy {
    enabled = false
  }

  release_channel {
    channel = "REGULAR"
  }

  # Of the first pool, which is removed.
  node_config {
    service_account = google_service_account.nodes.email

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }
}

# Flink, the servers, and what Kubernetes needs itself. Each worker has 1 core and 1.7 GB, so 4 GB a core are ample.
resource "google_container_node_pool" "workers" {
  name     = "workers"
  cluster  = google_container_cluster.landloom.id
  location = var.region

  autoscaling {
    total_min_node_count = 1
    total_max_node_count = 64
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  node_config {
    machine_type    = "n2-standard-8"
    spot            = true
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }
}

# Triton: spot machines, none while no server asks for one.
resource "google_container_node_pool" "gpus" {
  name     = "gpus"
  cluster  = google_container_cluster.landloom.id
  location = var.region

  autoscaling {
    total_min_node_count = 0
    total_max_node_count = var.gpu.most
    location_policy      = "ANY"
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  node_config {
    machine_type    = var.gpu.machine
    spot            = true
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]

    guest_accelerator {
      type  = var.gpu.type
      count = 1
      gpu_driver_installation_config {
        gpu_driver_version = "DEFAULT"
      }
    }

    taint {
      key    = "nvidia.com/gpu"
      value  = "present"
      effect = "NO_SCHEDULE"
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }
}
