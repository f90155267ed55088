variable "compartment_id" {
  type = string
}

variable "name" {
  type = string
}

variable "private_instances" {
  description = "Whether instances have no public address, and a NAT gateway instead."
  type        = bool
}

variable "ssh_from" {
  description = "From where one may log in, such as 203.0.113.7/32; null for nowhere."
  type        = string
  default     = null
}
