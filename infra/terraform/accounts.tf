# Three accounts, each with what it needs and no more: who starts a job, who works, who reads.
resource "google_service_account" "launcher" {
  account_id   = "landloom-launcher"
  display_name = "Starts Landloom's jobs"
}

resource "google_service_account" "worker" {
  account_id   = "landloom-worker"
  display_name = "Works in Landloom's jobs"
}

resource "google_service_account" "reader" {
  account_id   = "landloom-reader"
  display_name = "Serves Landloom's maps"
}

# A launcher makes jobs, plans into the maps' bucket, and lets workers be the worker account.
resource "google_project_iam_member" "launcher" {
  #checkov:skip=CKV_GCP_49:it makes jobs in the project; the one account that these may run as is named below
  project = var.project
  role    = "roles/dataflow.developer"
  member  = google_service_account.launcher.member
}

resource "google_service_account_iam_member" "launcher_is_worker" {
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.launcher.member
}

# Flex Templates start on a machine that is a worker of Dataflow's, too.
resource "google_project_iam_member" "dataflow_worker" {
  for_each = {
    launcher = google_service_account.launcher.member
    worker   = google_service_account.worker.member
  }
  project = var.project
  role    = "roles/dataflow.worker"
  member  = each.value
}

resource "google_storage_bucket_iam_member" "written" {
  for_each = {
    launcher_maps    = { bucket = google_storage_bucket.maps.name, member = google_service_account.launcher.member }
    launcher_staging = { bucket = google_storage_bucket.staging.name, member = google_service_account.launcher.member }
    worker_maps      = { bucket = google_storage_bucket.maps.name, member = google_service_account.worker.member }
    worker_staging   = { bucket = google_storage_bucket.staging.name, member = google_service_account.worker.member }
  }
  bucket = each.value.bucket
  role   = "roles/storage.objectUser"
  member = each.value.member
}

resource "google_storage_bucket_iam_member" "served" {
  bucket = google_storage_bucket.maps.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.reader.member
}

resource "google_storage_bucket_iam_member" "read" {
  for_each = var.readers
  bucket   = google_storage_bucket.maps.name
  role     = "roles/storage.objectViewer"
  member   = each.value
}

resource "google_artifact_registry_repository_iam_member" "pulls" {
  for_each = {
    launcher = google_service_account.launcher.member
    worker   = google_service_account.worker.member
    nodes    = google_service_account.nodes.member
  }
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

# People start jobs as the launcher.
resource "google_service_account_iam_member" "people" {
  for_each           = var.launchers
  service_account_id = google_service_account.launcher.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}

# Pods of the namespace landloom are these accounts, without a key: workers on Flink, and the catalog's server.
resource "google_service_account_iam_member" "pods" {
  for_each = {
    landloom-flink = google_service_account.worker.name
    landloom-serve = google_service_account.reader.name
  }
  service_account_id = each.value
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[landloom/${each.key}]"
  depends_on         = [google_container_cluster.landloom]
}
