# The description of the Flex Template, beside the images that it names: gcloud dataflow flex-template run … reads it.
resource "google_storage_bucket_object" "template" {
  name         = "templates/landloom-${var.release}.json"
  bucket       = google_storage_bucket.staging.name
  content_type = "application/json"
  content = jsonencode({
    image    = "${local.registry}/launcher:${var.release}"
    sdkInfo  = { language = "PYTHON" }
    metadata = jsondecode(file("${path.module}/../dataflow/metadata.json"))
    defaultEnvironment = {
      serviceAccountEmail = google_service_account.worker.email
      subnetwork          = "regions/${var.region}/subnetworks/${google_compute_subnetwork.landloom.name}"
      ipConfiguration     = "WORKER_IP_PRIVATE"
      tempLocation        = "gs://${google_storage_bucket.staging.name}/temp"
      stagingLocation     = "gs://${google_storage_bucket.staging.name}/temp"
    }
  })
}

locals {
  registry = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "registry" {
  description = "Where images are pushed to: worker, launcher, triton, serve, flink."
  value       = local.registry
}

output "template" {
  description = "For gcloud dataflow flex-template run --template-file-gcs-location."
  value       = "gs://${google_storage_bucket.staging.name}/${google_storage_bucket_object.template.name}"
}

output "maps" {
  description = "For --out."
  value       = "gs://${google_storage_bucket.maps.name}/maps"
}
