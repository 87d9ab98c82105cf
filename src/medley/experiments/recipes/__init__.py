"""What the papers ran: published settings beside published scores and doubts, as plain Python to copy and edit."""
