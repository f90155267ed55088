variable "region" {
  description = "The home region: nowhere else is anything free."
  type        = string
}

variable "compartment_id" {
  type = string
}

variable "availability_domain" {
  description = "One that has the shape VM.Standard.E2.1.Micro, such as Uocm:AP-MUMBAI-1-AD-1."
  type        = string
}

variable "image_id" {
  description = "Oracle Linux 9, or Ubuntu 22.04 or newer, for x86-64."
  type        = string
}

variable "ssh_public_key" {
  type = string
}

variable "ssh_from" {
  description = "From where one may log in, such as 203.0.113.7/32."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.ssh_from)) && var.ssh_from != "0.0.0.0/0"
    error_message = "ssh_from has to be a network such as 203.0.113.7/32, and not the whole Internet."
  }
}
