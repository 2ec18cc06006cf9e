# Maps stay; what is staged of a run that was given up goes after two weeks.
resource "google_storage_bucket" "maps" {
  #checkov:skip=CKV_GCP_62:access is told by the audit logs of the project; a bucket of logs would be one more to keep
  #checkov:skip=CKV_GCP_78:versions of COGs that are replaced on purpose would double what is paid; items name their files by fingerprint
  name                        = "${var.prefix}-maps"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = contains(var.readers, "allUsers") ? "inherited" : "enforced"

  lifecycle_rule {
    condition {
      age            = 14
      matches_prefix = ["maps/staging/"]
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    # Uploads that never ended.
    condition {
      age = 2
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  cors {
    # Notebooks and web maps read parts of COGs.
    origin          = ["*"]
    method          = ["GET", "HEAD"]
    response_header = ["Content-Range", "Content-Length", "ETag"]
    max_age_seconds = 3600
  }
}

# A job's own files, and the description of the Flex Template.
resource "google_storage_bucket" "staging" {
  #checkov:skip=CKV_GCP_62:the audit logs of the project tell of it, too
  #checkov:skip=CKV_GCP_78:nothing in it outlives its job
  name                        = "${var.prefix}-staging"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  lifecycle_rule {
    condition {
      age            = 14
      matches_prefix = ["temp/"]
    }
    action {
      type = "Delete"
    }
  }

  soft_delete_policy {
    retention_duration_seconds = 0
  }
}

resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:Google's own keys encrypt it; images hold no secret
  repository_id = "landloom"
  location      = var.region
  format        = "DOCKER"

  docker_config {
    # A tag that was tested is the one that runs.
    immutable_tags = true
  }
}
