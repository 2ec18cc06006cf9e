variable "project" {
  description = "ID of the project that pays."
  type        = string
}

variable "region" {
  description = "Where all of it lies and runs. One that has the GPUs, as europe-west4."
  type        = string
  default     = "europe-west4"
}

variable "prefix" {
  description = "What the names of buckets begin with; they are unique in the world."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.prefix))
    error_message = "prefix is 2 to 31 small letters, digits and hyphens, and begins with a letter."
  }
}

variable "release" {
  description = "Version of Landloom: the tag of its images."
  type        = string
  default     = "0.1.0"
}

variable "launchers" {
  description = "Who may start runs, as user:ada@example.org or group:mapping@example.org."
  type        = set(string)
  default     = []
}

variable "readers" {
  description = "Who may read the maps, as allAuthenticatedUsers or group:analysts@example.org."
  type        = set(string)
  default     = []
}

variable "operators" {
  description = "Networks that reach the cluster's control plane, as 203.0.113.0/24."
  type        = set(string)
  default     = []
}

variable "gpu" {
  description = "Triton's GPU nodes: machine, GPU, and how many at most; none while no server runs."
  type = object({
    machine = string
    type    = string
    most    = number
  })
  default = {
    machine = "g2-standard-8"
    type    = "nvidia-l4"
    most    = 8
  }
}
