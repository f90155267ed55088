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
  description = "Ubuntu 24.04 for x86-64, which has PostgreSQL 16 and Redis 7."
  type        = string
}

variable "serving_machines" {
  description = "How many of the two machines the load balancer asks: 2 when both have the API, and the database is elsewhere."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2], var.serving_machines)
    error_message = "serving_machines has to be 1 or 2."
  }
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
