variable "region" {
  type = string
}

variable "home_region" {
  description = "The tenancy's, if it is another one; `oci iam region-subscription list` shows it."
  type        = string
  default     = null
}

variable "tenancy_id" {
  type = string
}

variable "compartment_id" {
  type = string
}

variable "availability_domains" {
  description = "Over which the instances are spread, such as Uocm:AP-MUMBAI-1-AD-1."
  type        = list(string)
}

variable "image_id" {
  description = "Oracle Linux 9, or Ubuntu 22.04 or newer, for x86-64."
  type        = string
}

variable "release" {
  description = "The name of the archive in bharatmart-releases."
  type        = string
}

variable "release_sha256" {
  description = "As publish-release.sh printed it."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.release_sha256))
    error_message = "release_sha256 has to be 64 hexadecimal digits."
  }
}

variable "settings_secret_id" {
  description = "As store-settings.sh printed it."
  type        = string
}

variable "database_password_secret_id" {
  description = "A secret of OCI Vault that is the password of the user bharatmart."
  type        = string
}

variable "database_availability_domain" {
  description = "Where the database's storage is; null spreads it over all of the region's."
  type        = string
  default     = null
}

variable "certificate_id" {
  description = "Of the Certificates service; null for HTTP alone."
  type        = string
  default     = null
}

variable "maximum_bandwidth_mbps" {
  type    = number
  default = 100

  validation {
    condition     = var.maximum_bandwidth_mbps >= 10 && var.maximum_bandwidth_mbps <= 8000
    error_message = "maximum_bandwidth_mbps has to be from 10 to 8000."
  }
}

variable "ocpus" {
  type    = number
  default = 1
}

variable "memory_gb" {
  type    = number
  default = 8
}

variable "capacity_reservation_id" {
  description = "From create-capacity-reservation.sh; null for none."
  type        = string
  default     = null
}
